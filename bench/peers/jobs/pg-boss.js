// pg-boss, whose jobs are fetched and completed in batches. Two batches are under way, so that one is sent while the other
// is fetched; `work()` would wait for its next poll after each.
'use strict';

const PgBoss = require('pg-boss');
const { asTold, deliveringTo, inBatches } = require('./deliver.js');

const QUEUE = 'noop';
const BATCHES = 2;
const BATCH = 500;

const started = async (store) => {
  const boss = new PgBoss(store);
  boss.on('error', (error) => console.error(error));
  await boss.start();
  await boss.createQueue(QUEUE);
  return boss;
};

asTold({
  async enqueue(store, first, count) {
    const boss = await started(store);
    await inBatches(first, count, (jobs) =>
      boss.insert(jobs.map((job) => ({ name: QUEUE, data: { job } }))),
    );
    await boss.stop();
  },

  async work(store, endpoint, atOnce) {
    const boss = await started(store);
    const deliver = deliveringTo(endpoint, atOnce);
    let ends = false;
    const batches = async () => {
      while (!ends) {
        const jobs = await boss.fetch(QUEUE, { batchSize: BATCH });
        if (jobs.length === 0) {
          await new Promise((wake) => setTimeout(wake, 100));
          continue;
        }
        await Promise.all(jobs.map(({ data }) => deliver(data.job)));
        await boss.complete(QUEUE, jobs.map(({ id }) => id));
      }
    };
    const all = Promise.all(Array.from({ length: BATCHES }, batches));
    all.catch((error) => {
      console.error(error);
      process.exit(1);
    });
    return async () => {
      ends = true;
      await all;
      await boss.stop();
    };
  },
});
