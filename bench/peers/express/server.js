// express-idempotency with its Redis adapter, as its README sets it up. The service answers by itself: there is no
// upstream behind it. It is told its port, its Redis and the size of its answer.
'use strict';

const express = require('express');
const { idempotency, getSharedIdempotencyService } = require('express-idempotency');
const RedisAdapter = require('express-idempotency-redis-adapter').default;

const [port, redis, bytes] = process.argv.slice(2);
const answer = 'x'.repeat(Number(bytes));

async function main() {
  const adapter = new RedisAdapter({ connectionConfig: { url: redis } });
  await adapter.connect();

  const app = express();
  app.use(express.json());
  app.use(idempotency({ dataAdapter: adapter }));
  app.post('/orders', (request, response) => {
    if (getSharedIdempotencyService().isHit(request)) {
      return;
    }
    response.status(201).type('application/json').send(answer);
  });
  const server = app.listen(Number(port), '127.0.0.1');
  server.keepAliveTimeout = 600_000;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
