"""python-alipay-sdk as its documentation uses it, unchanged. One JSON object a line in, one out.

`open` makes a client (kind: plain, dc, isv), `call` its generic server_api, `named` one of its own methods, `verify`
checks a notice, `signed` gives an order string.
"""

import json
import sys

from alipay import AliPay, DCAliPay, ISVAliPay
from alipay.exceptions import AliPayException, AliPayValidationError

clients = {}


def open_client(job):
    """A client by its name, at the sandbox's address."""
    common = {"appid": job["app_id"], "app_private_key_string": job["private_key"], "sign_type": job["sign_type"]}
    if job["kind"] == "dc":
        client = DCAliPay(
            **common,
            app_public_key_cert_string=job["app_cert"],
            alipay_public_key_cert_string=job["platform_cert"],
            alipay_root_cert_string=job["root_cert"],
        )
    elif job["kind"] == "isv":
        client = ISVAliPay(
            **common,
            alipay_public_key_string=job["platform_key"],
            app_auth_token=job.get("app_auth_token"),
            app_auth_code=job.get("app_auth_code"),
        )
    else:
        client = AliPay(**common, alipay_public_key_string=job["platform_key"])
    client._gateway = job["gateway"]
    clients[job["name"]] = client
    return {}


def work(job):
    """One job's outcome."""
    if job["do"] == "open":
        return open_client(job)
    if job["do"] == "run":  # a block of the documents, as it stands there
        exec(compile(job["source"], "page", "exec"), dict(job["names"]))  # noqa: S102
        return {}
    client = clients[job["name"]]
    if job["do"] == "call":
        return client.server_api(job["method"], job["biz"], **job.get("more", {}))
    if job["do"] == "named":
        return client.__getattribute__(job["method"])(**job["arguments"])
    if job["do"] == "verify":
        fields = dict(job["fields"])
        sign = fields.pop("sign")
        return {"verified": client.verify(fields, sign)}
    if job["do"] == "signed":
        return {"order": client.client_api(job["method"], job["biz"], **job.get("more", {}))}
    raise ValueError(job["do"])


for line in sys.stdin:
    try:
        told = {"done": work(json.loads(line))}
    except AliPayValidationError:
        told = {"failed": "the client could not verify the answer"}
    except AliPayException as error:
        told = {"done": {"raised": str(error)}}  # its code is private; the message is all there is
    except Exception as error:  # noqa: BLE001 - whoever asks is told
        told = {"failed": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
