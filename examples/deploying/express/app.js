const express = require("express");

const app = express();
// Believe what the gateway, which runs on this machine, says of the caller.
app.set("trust proxy", "loopback");
app.use(express.json());

let orders = 0;

app.post("/orders", (request, response) => {
  orders += 1;
  response.status(201).location(`/orders/${orders}`).json({ order: orders, item: request.body.item });
});

app.get("/whoami", (request, response) => {
  response.json({ client: request.ip, url: `${request.protocol}://${request.host}${request.url}` });
});

app.listen(8000, "127.0.0.1");
