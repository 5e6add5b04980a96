"""requests_oauth2client, used as its documentation does."""

import requests
from conversation import ask, serve
from requests_oauth2client import (
    ClientSecretBasic,
    ClientSecretPost,
    DeviceAuthorizationPoolingJob,
    OAuth2Client,
    PrivateKeyJwt,
    PublicApp,
)


def authentication(job):
    """How the client proves itself."""
    client_id = job["client_id"]
    if job["auth"] == "private_key_jwt":
        return PrivateKeyJwt(client_id, job["private_jwk"], alg="ES256")
    if job["auth"] == "none":
        return PublicApp(client_id)
    method = ClientSecretBasic if job["auth"] == "basic" else ClientSecretPost
    return method(client_id, job["secret"])


def work(job):
    """One flow."""
    found = f"{job['issuer']}/.well-known/oauth-authorization-server"
    # It does not take this one out of the metadata.
    device = requests.get(found, timeout=20).json()["device_authorization_endpoint"]
    client = OAuth2Client.from_discovery_endpoint(
        url=found,
        device_authorization_endpoint=device,
        issuer=job["issuer"],
        auth=authentication(job),
        redirect_uri=job.get("redirect_uri"),
        dpop_bound_access_tokens=job["dpop"],
        id_token_signed_response_alg="ES256",
        testing=True,  # the suite's server listens on http
    )
    if job["flow"] == "client_credentials":
        return finished(job, client, client.client_credentials(scope=job["scope"], **job["parameters"]))
    if job["flow"] == "device":
        device = client.authorize_device(scope=job["scope"], **job["parameters"])
        ask("device", user_code=device.user_code, verification_uri=device.verification_uri)
        polling = DeviceAuthorizationPoolingJob(client, device, interval=device.interval, dpop=job["dpop"])
        token = None
        while token is None:
            token = polling()
        return finished(job, client, token)
    wanted = client.authorization_request(scope=job["scope"], **job["parameters"])
    request = client.pushed_authorization_request(wanted) if job["par"] else wanted
    answer = wanted.validate_callback(ask("consent", url=str(request.uri))["redirect"])
    # It loses the proof key when it validates an id_token.
    token = client.authorization_code(answer, validate=job["openid"] and not job["dpop"])
    return finished(job, client, token)


def finished(job, client, token):
    """Use what was issued."""
    done = {"token_type": token.token_type, "scope": token.scope, "expires_in": token.expires_in}
    done["tokens"] = {"access_token": token.access_token, "refresh_token": token.refresh_token}
    done["called"] = requests.get(job["resource"], auth=token, timeout=20).status_code
    if job["openid"]:
        done["userinfo"] = client.userinfo(token)
    if token.refresh_token:
        refreshed = client.refresh_token(token)
        called = requests.get(job["resource"], auth=refreshed, timeout=20).status_code
        done["refreshed"] = {"rotated": refreshed.refresh_token is not None, "called": called}
        token = refreshed
    if job["introspects"]:
        done["introspected"] = client.introspect_token(token.access_token)
        client.revoke_access_token(token.access_token)
        done["introspected_after"] = client.introspect_token(token.access_token)
    return done


serve(work)
