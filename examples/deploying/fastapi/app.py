from itertools import count

from fastapi import FastAPI, Request, Response

app = FastAPI()
numbers = count(1)


@app.post("/orders", status_code=201)
def order(wanted: dict, response: Response) -> dict:
    number = next(numbers)
    response.headers["Location"] = f"/orders/{number}"
    return {"order": number, "item": wanted["item"]}


@app.get("/whoami")
def whoami(request: Request) -> dict:
    return {"client": request.client.host, "url": str(request.url)}
