// BullMQ with one worker that has so many jobs under way. Finished jobs are removed, which is less work than keeping them.
'use strict';

const { Queue, Worker } = require('bullmq');
const { asTold, deliveringTo, inBatches } = require('./deliver.js');

const QUEUE = 'noop';
const connection = (url) => {
  const { hostname: host, port } = new URL(url);
  return { host, port: Number(port), maxRetriesPerRequest: null };
};

asTold({
  async enqueue(store, first, count) {
    const queue = new Queue(QUEUE, { connection: connection(store) });
    await inBatches(first, count, (jobs) =>
      queue.addBulk(jobs.map((job) => ({ name: QUEUE, data: { job } }))),
    );
    await queue.close();
  },

  async work(store, endpoint, atOnce) {
    const deliver = deliveringTo(endpoint, atOnce);
    const worker = new Worker(QUEUE, ({ data }) => deliver(data.job), {
      connection: connection(store),
      concurrency: atOnce,
      removeOnComplete: { count: 0 },
    });
    worker.on('error', (error) => console.error(error));
    return () => worker.close();
  },
});
