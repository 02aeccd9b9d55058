const ask = () =>
  fetch("http://127.0.0.1:8080/orders", {
    method: "POST",
    headers: { "Idempotency-Key": '"order-1"', "Content-Type": "application/json" },
    body: JSON.stringify({ item: "ticket" }),
  });

// Twice the same order: the second answer is the first one, and nothing is ordered again.
for (let attempt = 1; attempt <= 2; attempt += 1) {
  const answer = await ask();
  console.log(answer.status, await answer.text(), "replayed:", answer.headers.get("Idempotent-Replayed"));
}
console.log(await (await fetch("http://127.0.0.1:8080/whoami")).text());
