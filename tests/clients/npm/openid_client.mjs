// The published client openid-client, used as its examples do.
import * as client from 'openid-client'
import { ask, privateKey, serve } from './conversation.mjs'

async function authentication(job) {
  switch (job.auth) {
    case 'basic':
      return client.ClientSecretBasic(job.secret)
    case 'post':
      return client.ClientSecretPost(job.secret)
    case 'private_key_jwt':
      return client.PrivateKeyJwt({ key: await privateKey(job.private_jwk), kid: job.private_jwk.kid })
    case 'none':
      return client.None()
  }
}

await serve(async (job) => {
  const config = await client.discovery(new URL(job.issuer), job.client_id, undefined, await authentication(job), {
    algorithm: 'oauth2',
    execute: [client.allowInsecureRequests], // the suite's server listens on http
  })
  const options = job.dpop ? { DPoP: client.getDPoPHandle(config, await client.randomDPoPKeyPair()) } : {}
  const parameters = { scope: job.scope, ...job.parameters }

  async function call(token) {
    const answer = await client.fetchProtectedResource(
      config, token, new URL(job.resource), 'GET', undefined, undefined, options)
    return answer.status
  }

  async function finished(tokens) {
    const done = { token_type: tokens.token_type, scope: tokens.scope, expires_in: tokens.expires_in, tokens }
    done.called = await call(tokens.access_token)
    if (tokens.id_token) {
      done.id_claims = tokens.claims()
      done.userinfo = await client.fetchUserInfo(config, tokens.access_token, done.id_claims.sub, options)
    }
    if (tokens.refresh_token) {
      const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, options)
      done.refreshed = { rotated: refreshed.refresh_token !== undefined, called: await call(refreshed.access_token) }
      tokens = { ...tokens, ...refreshed }
    }
    if (job.introspects) {
      done.introspected = await client.tokenIntrospection(config, tokens.access_token)
      await client.tokenRevocation(config, tokens.access_token)
      done.introspected_after = await client.tokenIntrospection(config, tokens.access_token)
    }
    return done
  }

  if (job.flow === 'client_credentials') {
    return await finished(await client.clientCredentialsGrant(config, parameters, options))
  }

  if (job.flow === 'code') {
    const pkceCodeVerifier = client.randomPKCECodeVerifier()
    const expectedState = client.randomState()
    const expectedNonce = job.openid ? client.randomNonce() : undefined
    const wanted = {
      redirect_uri: job.redirect_uri, state: expectedState, ...parameters,
      code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256',
      ...(expectedNonce ? { nonce: expectedNonce } : {}),
    }
    const url = job.par
      ? await client.buildAuthorizationUrlWithPAR(config, wanted, options)
      : client.buildAuthorizationUrl(config, wanted)
    const { redirect } = await ask('consent', { url: url.href })
    const checks = { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: Boolean(job.openid) }
    return await finished(await client.authorizationCodeGrant(config, new URL(redirect), checks, undefined, options))
  }

  if (job.flow === 'device') {
    const device = await client.initiateDeviceAuthorization(config, parameters)
    await ask('device', { user_code: device.user_code, verification_uri: device.verification_uri })
    return await finished(await client.pollDeviceAuthorizationGrant(config, device, undefined, options))
  }
  throw new Error(`no flow ${job.flow}`)
})
