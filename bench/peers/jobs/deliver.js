// What the workers of all queues here do with a job: POST it over connections that are kept alive, and fail if the
// answer is none of success.
'use strict';

const { Pool } = require('undici');

exports.deliveringTo = (endpoint, connections) => {
  const pool = new Pool(endpoint, { connections });
  return async (job) => {
    const { statusCode, body } = await pool.request({
      method: 'POST',
      path: `/noop/${job}`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ job }),
    });
    await body.dump();
    if (statusCode >= 300) {
      throw new Error(`the endpoint answered ${statusCode}`);
    }
  };
};

// Calls `add` with the jobs from `first` on, a thousand at a time.
exports.inBatches = async (first, count, add) => {
  for (let job = first; job < first + count; job += 1000) {
    const batch = Math.min(1000, first + count - job);
    await add(Array.from({ length: batch }, (_, index) => job + index));
  }
};

// Runs `enqueue(first, count)` or `work(endpoint, jobs at once)`, as the command line says after the store's URL. What
// `work` resolves to ends it when we are told to end.
exports.asTold = ({ enqueue, work }) => {
  const [what, store, ...said] = process.argv.slice(2);
  const run = async () => {
    if (what === 'enqueue') {
      await enqueue(store, Number(said[0]), Number(said[1]));
      process.exit(0);
    }
    const end = await work(store, said[0], Number(said[1]));
    process.once('SIGINT', () => end().then(() => process.exit(0), fail));
  };
  run().catch(fail);
};

function fail(error) {
  console.error(error);
  process.exit(1);
}
