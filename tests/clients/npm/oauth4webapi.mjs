// The published client oauth4webapi, used as its examples do.
import * as oauth from 'oauth4webapi'
import { ask, pause, privateKey, serve } from './conversation.mjs'

const insecure = { [oauth.allowInsecureRequests]: true } // the suite's server listens on http

async function authentication(job) {
  switch (job.auth) {
    case 'basic':
      return oauth.ClientSecretBasic(job.secret)
    case 'post':
      return oauth.ClientSecretPost(job.secret)
    case 'private_key_jwt':
      return oauth.PrivateKeyJwt({ key: await privateKey(job.private_jwk), kid: job.private_jwk.kid })
    case 'none':
      return oauth.None()
  }
}

// The caller repeats on use_dpop_nonce; the handle has kept the nonce by then.
async function repeated(attempt) {
  try {
    return await attempt()
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error
    return await attempt()
  }
}

await serve(async (job) => {
  const issuer = new URL(job.issuer)
  const discovered = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
  const as = await oauth.processDiscoveryResponse(issuer, discovered)
  const client = { client_id: job.client_id }
  const auth = await authentication(job)
  const options = { ...insecure }
  if (job.dpop) options.DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
  const parameters = { scope: job.scope, ...job.parameters }

  async function call(token) {
    return await repeated(async () => {
      const answer = await oauth.protectedResourceRequest(token, 'GET', new URL(job.resource), undefined, null, options)
      return answer.status
    })
  }

  async function verified(token) {
    if (job.dpop) return null
    const request = new Request(job.resource, { headers: { authorization: `Bearer ${token}` } })
    return await oauth.validateJwtAccessToken(as, request, job.audience, insecure)
  }

  async function finished(tokens) {
    const done = { token_type: tokens.token_type, scope: tokens.scope, expires_in: tokens.expires_in, tokens }
    done.claims = await verified(tokens.access_token)
    done.called = await call(tokens.access_token)
    if (tokens.id_token) {
      done.id_claims = oauth.getValidatedIdTokenClaims(tokens)
      const sub = done.id_claims.sub
      done.userinfo = await repeated(async () =>
        oauth.processUserInfoResponse(as, client, sub, await oauth.userInfoRequest(as, client, tokens.access_token, options)))
    }
    if (tokens.refresh_token) {
      const refreshed = await repeated(async () =>
        oauth.processRefreshTokenResponse(
          as, client, await oauth.refreshTokenGrantRequest(as, client, auth, tokens.refresh_token, options)))
      done.refreshed = { rotated: refreshed.refresh_token !== undefined, called: await call(refreshed.access_token) }
      tokens = { ...tokens, ...refreshed }
    }
    if (job.introspects) {
      const introspect = async () =>
        oauth.processIntrospectionResponse(
          as, client, await oauth.introspectionRequest(as, client, auth, tokens.access_token, insecure))
      done.introspected = await introspect()
      await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, tokens.access_token, insecure))
      done.introspected_after = await introspect()
    }
    return done
  }

  if (job.flow === 'client_credentials') {
    return await finished(await repeated(async () =>
      oauth.processClientCredentialsResponse(
        as, client, await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, options))))
  }

  if (job.flow === 'code') {
    const verifier = oauth.generateRandomCodeVerifier()
    const state = oauth.generateRandomState()
    const nonce = oauth.generateRandomNonce()
    const wanted = new URLSearchParams({
      client_id: job.client_id, redirect_uri: job.redirect_uri, response_type: 'code', state, ...parameters,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
    })
    if (job.openid) wanted.set('nonce', nonce)
    const url = new URL(as.authorization_endpoint)
    if (job.par) {
      const pushed = await repeated(async () =>
        oauth.processPushedAuthorizationResponse(
          as, client, await oauth.pushedAuthorizationRequest(as, client, auth, wanted, options)))
      url.searchParams.set('client_id', job.client_id)
      url.searchParams.set('request_uri', pushed.request_uri)
    } else {
      if (job.dpop) wanted.set('dpop_jkt', await options.DPoP.calculateThumbprint())
      for (const [name, value] of wanted) url.searchParams.set(name, value)
    }
    const { redirect } = await ask('consent', { url: url.href })
    const validated = oauth.validateAuthResponse(as, client, new URL(redirect), state)
    return await finished(await repeated(async () => {
      const answer = await oauth.authorizationCodeGrantRequest(
        as, client, auth, validated, job.redirect_uri, verifier, options)
      const tokens = await oauth.processAuthorizationCodeResponse(
        as, client, answer, job.openid ? { expectedNonce: nonce, requireIdToken: true } : undefined)
      if (job.openid) await oauth.validateApplicationLevelSignature(as, answer, insecure)
      return tokens
    }))
  }

  if (job.flow === 'device') {
    const device = await oauth.processDeviceAuthorizationResponse(
      as, client, await oauth.deviceAuthorizationRequest(as, client, auth, parameters, insecure))
    await ask('device', { user_code: device.user_code, verification_uri: device.verification_uri })
    for (;;) {
      await pause(device.interval ?? 5)
      try {
        return await finished(await repeated(async () =>
          oauth.processDeviceCodeResponse(
            as, client, await oauth.deviceCodeGrantRequest(as, client, auth, device.device_code, options))))
      } catch (error) {
        if (error.error !== 'authorization_pending') throw error
      }
    }
  }
  throw new Error(`no flow ${job.flow}`)
})
