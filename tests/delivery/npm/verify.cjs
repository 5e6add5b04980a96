// Reads {secret, headers, body} as JSON from standard input; prints the payload if the signature is right, else exits 1.
const { Webhook } = require("standardwebhooks");

const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
const payload = new Webhook(input.secret).verify(input.body, input.headers);
process.stdout.write(JSON.stringify(payload));
