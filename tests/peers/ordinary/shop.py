"""A small shop with OpenTelemetry's own instrumentations of Flask, requests, SQLAlchemy and logging: what ordinary services send.

    shop.py SERVICE     (frontend, checkout or shop-assistant; OTEL_* says where to send)

Everything is seeded: the same requests, errors and log lines each time. `shop-assistant` is an agent's service: spans of GenAI stand beside
its HTTP and SQL spans.
"""
import logging
import random
import sys
import threading
import uuid

import requests
from flask import Flask, abort, jsonify, request
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool
from werkzeug.serving import make_server

RNG = random.Random(7)
PRODUCTS = [("OLJCESPC7Z", "National Park Foundation Explorascope", 10196), ("66VCHSJNUP", "Starsense Explorer Refractor Telescope", 34995),
            ("1YMWWN1N4O", "Eclipsmart Travel Refractor Telescope", 12995), ("L9ECAV7KIM", "Lens Cleaning Kit", 2195), ("2ZYFJ3GM2N", "Roof Binoculars", 20995)]
COUNTRIES = [("US", "USD"), ("DE", "EUR"), ("GB", "GBP"), ("JP", "JPY")]
log = logging.getLogger("shop")
tracer = trace.get_tracer("shop", "1.4.2")


class PaymentDeclined(Exception):
    """The bank said no."""


def uid():
    return str(uuid.UUID(int=RNG.getrandbits(128), version=4))


def database():
    engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
    SQLAlchemyInstrumentor().instrument(engine=engine)
    with engine.begin() as db:
        db.execute(text("CREATE TABLE products (id TEXT PRIMARY KEY, name TEXT, price_cents INTEGER)"))
        db.execute(text("CREATE TABLE orders (id TEXT PRIMARY KEY, currency TEXT, total_cents INTEGER, state TEXT)"))
        for row in PRODUCTS:
            db.execute(text("INSERT INTO products (id, name, price_cents) VALUES (:i, :n, :p)"), dict(zip("inp", row)))
    return engine


def application(service):
    app, db = Flask(service), database()
    FlaskInstrumentor().instrument_app(app)
    orders = metrics.get_meter("shop").create_counter("app.orders", unit="{order}", description="Orders placed")

    @app.get("/api/products")
    def products():
        with db.connect() as one:
            rows = one.execute(text("SELECT id, name, price_cents FROM products ORDER BY name LIMIT :n"), {"n": 10}).all()
        log.info("Listed %d products", len(rows))
        return jsonify([list(row) for row in rows])

    @app.get("/api/products/<product>")
    def product(product):
        span = trace.get_current_span()
        span.set_attribute("app.product.id", product)
        span.set_attribute("app.products_search.count", 1)
        with db.connect() as one:
            row = one.execute(text("SELECT id, name, price_cents FROM products WHERE id = :i"), {"i": product}).first()
        if row is None:
            log.warning("Product Id Lookup Failed: %s", product)
            abort(404)
        span.set_attribute("app.product.name", row[1])
        span.add_event(f"Product Found - {row[1]}")
        return jsonify(list(row))

    @app.post("/api/checkout")
    def checkout():
        country, currency = RNG.choice(COUNTRIES)
        order, total = uid(), RNG.randint(2195, 90000)
        span = trace.get_current_span()
        for key, value in {"app.order.id": order, "app.order.amount": total / 100, "app.user.currency": currency, "app.shipping.country": country,
                           "app.order.items.count": RNG.randint(1, 5), "app.shipping.amount": 8.99, "app.cart.items": [p[0] for p in RNG.sample(PRODUCTS, 2)],
                           "feature_flag.key": "paymentFailure", "feature_flag.provider.name": "flagd", "feature_flag.result.variant": "off",
                           "enduser.role": "customer"}.items():
            span.set_attribute(key, value)
        with tracer.start_as_current_span("prepareOrderItemsAndShippingQuoteFromCart"), db.begin() as one:
            one.execute(text("INSERT INTO orders (id, currency, total_cents, state) VALUES (:i, :c, :t, :s)"), {"i": order, "c": currency, "t": total, "s": "placed"})
            span.add_event("prepared", {"app.cart.items.count": 2})
        with tracer.start_as_current_span("charge") as charge:
            charge.set_attribute("app.payment.card_type", RNG.choice(["visa", "mastercard"]))
            charge.set_attribute("app.payment.card_valid", True)
            if RNG.random() < 0.3:
                raise PaymentDeclined("Payment request failed. Invalid token. app.loyalty.level=gold")
        orders.add(1, {"app.user.currency": currency})
        log.info("Placed order %s", order, extra={"order.state": "in transit"})
        return jsonify({"order": order})

    @app.get("/api/recommendations")
    def recommendations():
        try:
            return jsonify(sorted({}["model"]))
        except KeyError:
            log.exception("Failed to load the recommendation cache")
            abort(500)

    return app


def assistant(base):
    """An agent of the shop: each turn calls a model, then a tool, which asks the shop."""
    for turn in range(6):
        session = uid()
        with tracer.start_as_current_span("invoke_agent shop-assistant", attributes={
                "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "shop-assistant", "gen_ai.provider.name": "openai", "gen_ai.conversation.id": session,
                "team": "payments core", "deployment.ring": "canary"}):
            with tracer.start_as_current_span("chat gpt-4o", attributes={
                    "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.conversation.id": session,
                    "gen_ai.response.finish_reasons": ["tool_calls"], "gen_ai.usage.input_tokens": 400 + turn, "gen_ai.usage.output_tokens": 20,
                    "gen_ai.request.temperature": 0.2, "server.address": "api.openai.com", "server.port": 443}):
                pass
            with tracer.start_as_current_span("execute_tool get_product", attributes={
                    "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_product", "gen_ai.tool.type": "function", "gen_ai.tool.call.id": f"call_{turn}a9Xk2Lq",
                    "gen_ai.conversation.id": session}):
                requests.get(f"{base}/api/products/{PRODUCTS[turn % 5][0]}", timeout=10)


def traffic(base):
    for turn in range(12):
        requests.get(f"{base}/api/products", headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}, timeout=10)
        requests.get(f"{base}/api/products/{PRODUCTS[turn % 5][0]}?currencyCode=EUR", timeout=10)
        requests.post(f"{base}/api/checkout", timeout=10)
    requests.get(f"{base}/api/products/NOSUCHITEM", timeout=10)
    requests.get(f"{base}/api/recommendations?productIds=OLJCESPC7Z", timeout=10)


def main():
    service = sys.argv[1]
    logging.getLogger().setLevel(logging.INFO)
    RequestsInstrumentor().instrument()
    server = make_server("127.0.0.1", 8080, application(service), threaded=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = "http://127.0.0.1:8080"
    (assistant if service == "shop-assistant" else traffic)(base)
    server.shutdown()


if __name__ == "__main__":
    main()
