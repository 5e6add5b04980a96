"""requests-oauthlib, used as its documentation does. It knows no PAR, no DPoP, no assertions."""

import os

import requests
from conversation import ask, serve
from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the suite's server listens on http


def work(job):
    """One flow."""
    found = requests.get(f"{job['issuer']}/.well-known/oauth-authorization-server", timeout=20).json()
    proof = {
        "basic": {"auth": HTTPBasicAuth(job["client_id"], job.get("secret"))},
        "post": {"client_secret": job.get("secret"), "include_client_id": True},
        "none": {"include_client_id": True},
    }[job["auth"]]
    if job["flow"] == "client_credentials":
        session = OAuth2Session(client=BackendApplicationClient(client_id=job["client_id"], scope=job["scope"]))
        tokens = session.fetch_token(token_url=found["token_endpoint"], **proof)
        return finished(job, found, session, tokens)
    session = OAuth2Session(job["client_id"], redirect_uri=job["redirect_uri"], scope=job["scope"].split(), pkce="S256")
    url, _ = session.authorization_url(found["authorization_endpoint"], **job["parameters"])
    # The library wants https in the address that the browser came to, whatever the environment says of the server.
    redirect = ask("consent", url=url)["redirect"]
    tokens = session.fetch_token(found["token_endpoint"], authorization_response=redirect, **proof)
    return finished(job, found, session, tokens)


def finished(job, found, session, tokens):
    """Use what was issued."""
    done = {name: tokens.get(name) for name in ("token_type", "expires_in")}
    done["scope"] = " ".join(tokens["scope"])
    done["tokens"] = dict(tokens)
    done["called"] = session.get(job["resource"]).status_code
    if tokens.get("refresh_token"):
        credentials = {"client_id": job["client_id"]}
        if job["auth"] == "post":
            credentials["client_secret"] = job["secret"]
        auth = HTTPBasicAuth(job["client_id"], job["secret"]) if job["auth"] == "basic" else None
        extra = {} if auth is not None else credentials
        refreshed = session.refresh_token(
            found["token_endpoint"], refresh_token=tokens["refresh_token"], auth=auth, **extra
        )
        rotated = refreshed["refresh_token"] != tokens["refresh_token"]  # it keeps the old one when none comes
        done["refreshed"] = {"rotated": rotated, "called": session.get(job["resource"]).status_code}
    return done


serve(work)
