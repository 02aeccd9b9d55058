// graphile-worker with its local queue, completing in batches, as its page on performance advises; silent, because it
// would write a line about every job.
'use strict';

const { Logger, makeWorkerUtils, run } = require('graphile-worker');
const { asTold, deliveringTo, inBatches } = require('./deliver.js');

const logger = new Logger(() => () => {});

asTold({
  async enqueue(connectionString, first, count) {
    const utils = await makeWorkerUtils({ connectionString, logger });
    await utils.migrate();
    await inBatches(first, count, (jobs) =>
      utils.addJobs(jobs.map((job) => ({ identifier: 'noop', payload: { job } }))),
    );
    await utils.release();
  },

  async work(connectionString, endpoint, atOnce) {
    const deliver = deliveringTo(endpoint, atOnce);
    const worker = {
      connectionString,
      concurrentJobs: atOnce,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    };
    const runner = await run({
      preset: { worker },
      logger,
      noHandleSignals: true,
      taskList: { noop: ({ job }) => deliver(job) },
    });
    return () => runner.stop();
  },
});
