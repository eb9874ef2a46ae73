// A real OpenID Connect provider for tests, on this machine.
//
// Configured by the environment variable OIDC_TEST, JSON:
//   port      to listen on; the issuer is http://127.0.0.1:PORT, or https:// with tls
//   tls       { cert, key }: files in PEM, optional
//   clients   as oidc-provider takes them: client_id, client_secret, redirect_uris, token_endpoint_auth_method
//   accounts  { login: { password, claims: { email, email_verified, groups, preferred_username, ... } } }
// People sign in with login and password on a plain page; consent is taken as given.

import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { Provider } from "oidc-provider";

const { port, tls, clients, accounts } = JSON.parse(process.env.OIDC_TEST);
const issuer = `${tls ? "https" : "http"}://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients,
  claims: {
    openid: ["sub"],
    email: ["email", "email_verified"],
    profile: ["preferred_username", "name", "groups"],
  },
  // A client that forgets its proof key is refused: so the tests show that the hub sends one.
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  cookies: { keys: ["only for tests"] },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(_ctx, id) {
    const account = accounts[id];
    return account && { accountId: id, claims: async () => ({ sub: id, ...account.claims }) };
  },
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope([...ctx.oidc.requestParamOIDCScopes].join(" "));
    await grant.save();
    return grant;
  },
});

const page = (action, message) => `<!doctype html><html lang="en"><title>Sign in at the test provider</title>
<h1>The test provider</h1><p role="alert">${message}</p><form method="post" action="${action}">
<label>Login <input name="login" autofocus></label> <label>Password <input name="password" type="password"></label>
<button>Continue</button></form></html>`;

async function body(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
}

async function interaction(request, response) {
  let message = "";
  await provider.interactionDetails(request, response);
  if (request.method === "POST") {
    const form = await body(request);
    const login = form.get("login");
    if (Object.hasOwn(accounts, login) && accounts[login].password === form.get("password")) {
      await provider.interactionFinished(request, response, { login: { accountId: login } });
      return;
    }
    message = "Wrong login or password.";
  }
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.end(page(new URL(request.url, issuer).pathname, message));
}

const answer = provider.callback();
const serve = (request, response) => {
  if (!request.url.startsWith("/interaction/")) {
    answer(request, response);
    return;
  }
  interaction(request, response).catch((error) => {
    response.statusCode = 400;
    response.end(String(error));
  });
};
const server = tls
  ? https.createServer({ cert: readFileSync(tls.cert), key: readFileSync(tls.key) }, serve)
  : http.createServer(serve);
server.listen(port, "127.0.0.1");
