"""alipay-sdk-python as its documentation uses it: typed requests, responses parsed by their own classes.

One JSON object a line in, one out; nothing of the library is changed. Its server_url takes no port (it adds a string
and a number), so the sandbox listens on port 80.
"""

import importlib
import json
import sys

from alipay.aop.api.AlipayClientConfig import AlipayClientConfig
from alipay.aop.api.DefaultAlipayClient import DefaultAlipayClient
from alipay.aop.api.util.SignatureUtils import verify_with_rsa

clients = {}


def open_client(job):
    """A client by its name."""
    config = AlipayClientConfig()
    config.server_url = job["gateway"]
    config.app_id = job["app_id"]
    config.app_private_key = job["private_key"]
    config.alipay_public_key = job["platform_key"]
    config.sign_type = job["sign_type"]
    config.charset = job.get("charset", "utf-8")
    clients[job["name"]] = (DefaultAlipayClient(config), job["platform_key"])
    return {}


def typed(method, kind):
    """The request's or response's class of a method."""
    name = "".join(word.capitalize() for word in method.split(".")) + kind
    return getattr(importlib.import_module(f"alipay.aop.api.{kind.lower()}.{name}"), name)


def call(job):
    """Execute a request and read the answer with its own class."""
    request = typed(job["method"], "Request")()
    request.biz_content = job["biz"]
    for name in ("notify_url", "return_url"):
        if job.get(name):
            setattr(request, name, job[name])
    for name, value in job.get("more", {}).items():
        request.add_other_text_param(name, value)
    client, _ = clients[job["name"]]
    content = client.execute(request)
    response = typed(job["method"], "Response")()
    response.parse_response_content(content)
    return {**json.loads(content), "is_success": response.is_success()}


def work(job):
    """One job's outcome."""
    if job["do"] == "open":
        return open_client(job)
    if job["do"] == "run":  # a block of the documents, as it stands there
        exec(compile(job["source"], "page", "exec"), dict(job["names"]))  # noqa: S102
        return {}
    if job["do"] == "call":
        return call(job)
    if job["do"] == "verify":
        _, key = clients[job["name"]]
        fields = {name: value for name, value in job["fields"].items() if name not in ("sign", "sign_type")}
        text = "&".join(f"{name}={value}" for name, value in sorted(fields.items()))
        return {"verified": verify_with_rsa(key, text.encode(), job["fields"]["sign"])}
    raise ValueError(job["do"])


for line in sys.stdin:
    try:
        told = {"done": work(json.loads(line))}
    except Exception as error:  # noqa: BLE001 - whoever asks is told
        told = {"failed": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
