"""Authlib's client over requests, used as its documentation does. It knows no PAR and no DPoP."""

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from conversation import ask, serve

METHODS = {"basic": "client_secret_basic", "post": "client_secret_post", "none": "none"}


def work(job):
    """One flow."""
    found = requests.get(f"{job['issuer']}/.well-known/oauth-authorization-server", timeout=20).json()
    if job["auth"] == "private_key_jwt":
        secret, method = job["private_jwk"], "private_key_jwt"
    else:
        secret, method = job.get("secret"), METHODS[job["auth"]]
    session = OAuth2Session(
        job["client_id"],
        secret,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        scope=job["scope"],
        redirect_uri=job.get("redirect_uri"),
        code_challenge_method="S256",
    )
    if method == "private_key_jwt":
        session.register_client_auth_method(
            PrivateKeyJWT(found["token_endpoint"], headers={"kid": job["private_jwk"]["kid"]})
        )
    if job["flow"] == "client_credentials":
        tokens = session.fetch_token(found["token_endpoint"], grant_type="client_credentials", **job["parameters"])
        return finished(job, found, session, tokens)
    verifier = "v" * 48
    url, state = session.create_authorization_url(
        found["authorization_endpoint"], code_verifier=verifier, **job["parameters"]
    )
    redirect = ask("consent", url=url)["redirect"]
    tokens = session.fetch_token(
        found["token_endpoint"], authorization_response=redirect, code_verifier=verifier, state=state
    )
    return finished(job, found, session, tokens)


def finished(job, found, session, tokens):
    """Use what was issued."""
    done = {name: tokens.get(name) for name in ("token_type", "scope", "expires_in")}
    done["tokens"] = dict(tokens)
    done["called"] = session.get(job["resource"]).status_code
    if tokens.get("refresh_token"):
        refreshed = session.refresh_token(found["token_endpoint"], refresh_token=tokens["refresh_token"])
        # The session copies the old one where none came.
        rotated = refreshed.get("refresh_token") != tokens["refresh_token"]
        done["refreshed"] = {"rotated": rotated, "called": session.get(job["resource"]).status_code}
    if job["introspects"]:
        token = session.token["access_token"]
        done["introspected"] = session.introspect_token(found["introspection_endpoint"], token=token).json()
        session.revoke_token(found["revocation_endpoint"], token=token)
        done["introspected_after"] = session.introspect_token(found["introspection_endpoint"], token=token).json()
    return done


serve(work)
