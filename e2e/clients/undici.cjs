// undici, Node's own client of HTTP, over both versions. Called with a scenario and a JSON object of addresses.
const assert = require("node:assert/strict");
const fs = require("node:fs");
const { Client } = require("undici");

const [, , scenario, told] = process.argv;
const place = JSON.parse(told);
const ca = fs.readFileSync(`${place.folder}/ca.pem`, "utf8");
const plain = `http://${place.plain}`;
const secure = `https://localhost:${place.tls.split(":")[1]}`;

const overHttp1 = (options) => new Client(plain, options);
const overHttp2 = () => new Client(secure, { connect: { ca }, allowH2: true });

async function order(client, key) {
  const answer = await client.request({
    path: "/orders",
    method: "POST",
    headers: { "idempotency-key": key, "content-type": "application/json" },
    body: JSON.stringify({ item: "ticket" }),
  });
  const { order } = await answer.body.json();
  return [answer.statusCode, order, answer.headers["idempotent-replayed"] ?? null];
}

const scenarios = {
  async replays() {
    const [one, two] = [overHttp1(), overHttp2()];
    assert.deepEqual(await order(one, "a"), [201, 1, null]);
    assert.deepEqual(await order(two, "a"), [201, 1, "true"]);
    assert.deepEqual(await order(two, "b"), [201, 2, null]);
    assert.deepEqual(await order(one, "b"), [201, 2, "true"]);
    await Promise.all([one.close(), two.close()]);
  },

  async pipelines() {
    // Ten requests go out before the first is answered; the answers come in order.
    const client = overHttp1({ pipelining: 10 });
    const asked = Array.from({ length: 30 }, async (_, number) => {
      const answer = await client.request({ path: `/a?${number}`, method: "GET" });
      return (await answer.body.json()).target;
    });
    assert.deepEqual(await Promise.all(asked), Array.from({ length: 30 }, (_, number) => `/a?${number}`));
    await client.close();
  },

  async shares() {
    let connections = 0;
    const client = overHttp2();
    client.on("connect", () => (connections += 1));
    const asked = Array.from({ length: 30 }, async (_, number) => {
      const answer = await client.request({ path: `/a?${number}`, method: "GET" });
      assert.equal(answer.statusCode, 200);
      return (await answer.body.json()).target;
    });
    assert.equal(new Set(await Promise.all(asked)).size, 30);
    assert.equal(connections, 1);
    await client.close();
  },

  async aborts() {
    for (const client of [overHttp1(), overHttp2()]) {
      const controller = new AbortController();
      const asked = client.request({ path: "/never", method: "GET", signal: controller.signal });
      // The app says when it has the request.
      process.stdout.write("asked\n");
      await new Promise((resolve) => process.stdin.once("data", resolve));
      controller.abort();
      await assert.rejects(asked, { name: "AbortError" });
      await new Promise((resolve) => process.stdin.once("data", resolve));
      const answer = await client.request({ path: "/a", method: "GET" });
      assert.equal(answer.statusCode, 200);
      await answer.body.dump();
      await client.destroy();
    }
    process.stdin.destroy();
  },

  async streams() {
    for (const client of [overHttp1(), overHttp2()]) {
      let bytes = 0;
      const answer = await client.request({ path: "/chunks", method: "GET" });
      for await (const piece of answer.body) bytes += piece.length;
      assert.equal(bytes, Array.from({ length: 20 }, (_, n) => `chunk ${n}\n`.length * 1000).reduce((a, b) => a + b));
      await client.close();
    }
  },
};

scenarios[scenario]().catch((error) => {
  console.error(error);
  process.exit(1);
});
