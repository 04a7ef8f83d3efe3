// Says of each document whether a schema takes it, by ajv in its default settings, which are strict.
const Ajv = require("ajv/dist/2020");
const { schema, documents } = JSON.parse(require("fs").readFileSync(0, "utf8"));
new Ajv({ strict: true, allErrors: true }).compile(schema);
const takes = new Ajv().compile(schema);
console.log(JSON.stringify(documents.map((document) => takes(document))));
