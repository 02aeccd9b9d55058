# Twice the same order: the second answer is the first one, and nothing is ordered again.
for attempt in 1 2; do
    curl --silent --show-error --include http://127.0.0.1:8080/orders \
        --header 'Idempotency-Key: "order-1"' \
        --json '{"item": "ticket"}'
    echo
done
curl --silent --show-error http://127.0.0.1:8080/whoami
