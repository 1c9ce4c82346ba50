// The provider of the tests: oidc-provider as it is, with six clients, DPoP, JWT access tokens for `twokey`, and keys
// that can be rotated from outside. One JSON document on standard input, one JSON line on standard output: the port.
//
// Its folder of modules is not beside this file (tools/oidc.py says where), so the import is by address.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { issuer, modules } = JSON.parse((await lines.next()).value);
const { Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`).href);

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: randomUUID() };
}

const agent = (client_id) => ({
  client_id,
  client_secret: `secret-of-${client_id}`,
  token_endpoint_auth_method: 'client_secret_post',
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
});

const groups = {
  'executor-7': ['agents-exec'],
  'planner-3': ['agents-plan'],
  alice: ['agents-exec', 'reviewers'],
  bob: ['reviewers'],
  dana: ['reviewers'],
};
// Where the pages of the decision service are, once that is known: a browser's client with a secret.
let redirects = ['https://web.example/callback'];

const configuration = (keys) => ({
  jwks: { keys },
  cookies: { keys: ['only for tests'] },
  pkce: { required: () => true },
  scopes: ['openid', 'twokey:crm:execute', 'twokey:crm:plan'],
  clients: [
    agent('executor-7'),
    agent('planner-3'),
    { ...agent('executor-bound'), dpop_bound_access_tokens: true },
    {
      client_id: 'console',
      token_endpoint_auth_method: 'none',
      application_type: 'web',
      grant_types: ['authorization_code'],
      response_types: ['code'],
      redirect_uris: ['https://console.example/callback'],
    },
    {
      client_id: 'web',
      client_secret: 'secret-of-web',
      token_endpoint_auth_method: 'client_secret_basic',
      application_type: 'web',
      grant_types: ['authorization_code'],
      response_types: ['code'],
      redirect_uris: redirects,
    },
    {
      client_id: 'cli',
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
      redirect_uris: ['http://127.0.0.1/callback'],
    },
    {
      client_id: 'psql',
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
      response_types: [],
      redirect_uris: [],
    },
  ],
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:twokey',
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'twokey:crm:execute twokey:crm:plan',
        audience: 'twokey',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 600,
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  extraTokenClaims: (ctx, token) => ({ groups: groups[token.accountId ?? token.clientId.replace('-bound', '-7')] ?? [] }),
  // What `openid` stands for is in every ID token, also where an access token is issued beside it.
  claims: { openid: ['sub', 'groups'], acr: null, auth_time: null, iss: null, sid: null },
  acrValues: ['urn:example:two-factors'],
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub, groups: groups[sub] ?? [] }) }),
  interactions: { url: (ctx, interaction) => `/log-in/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope('openid twokey:crm:execute twokey:crm:plan');
    grant.addResourceScope('urn:twokey', 'twokey:crm:execute twokey:crm:plan');
    await grant.save();
    return grant;
  },
});

let keys = [newKey()];
let provider = new Provider(issuer, configuration(keys));
let callback = provider.callback();

const server = createServer(async (request, response) => {
  if (request.url.startsWith('/_redirect?')) {
    redirects = new URL(request.url, issuer).searchParams.getAll('to');
    provider = new Provider(issuer, configuration(keys));
    callback = provider.callback();
    response.end('[]');
  } else if (request.url === '/_rotate' || request.url === '/_retire') {
    keys = request.url === '/_rotate' ? [newKey(), ...keys] : keys.slice(0, 1);
    provider = new Provider(issuer, configuration(keys));
    callback = provider.callback();
    response.end(JSON.stringify(keys.map((key) => key.kid)));
  } else if (request.url.startsWith('/log-in/')) {
    const url = new URL(request.url, issuer);
    const { params } = await provider.interactionDetails(request, response);
    const who = url.searchParams.get('as') ?? (params.client_id === 'web' ? null : 'alice');
    if (who === null) {
      response.setHeader('Content-Type', 'text/html');
      response.end(
        `<!doctype html><title>Log in</title><form action="${url.pathname}"><label>Who are you? ` +
          '<input name="as" autofocus></label><button>Go on</button></form>',
      );
    } else {
      const acr = (params.acr_values ?? '').split(' ')[0] || undefined;
      await provider.interactionFinished(request, response, { login: { accountId: who, acr }, consent: {} });
    }
  } else {
    await callback(request, response);
  }
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
for await (const _ of lines);  // until whoever started it goes
process.exit(0);
