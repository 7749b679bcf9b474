#!/usr/bin/env bash
# AWS's language service for state machines does not read JSONata
#
# Expected: amazon-states-language-service, which the AWS Toolkit for VS Code checks state
# machines with, depends on jsonata 2.0.5 and knows QueryLanguage JSONata; so it marks an
# expression that cannot be parsed, as CreateStateMachine would refuse it.
# Seen: amazon-states-language-service 1.16.1 has no diagnostic for an expression that ends after
# an operator, in a Pass state's Output as in a Choice's Condition. It does mark a Next that names
# no state.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund amazon-states-language-service@1.16.1 vscode-languageserver-textdocument@1.0.12 > install.log 2>&1

cat > seen.js <<'JS'
const { getLanguageService } = require("amazon-states-language-service");
const { TextDocument } = require("vscode-languageserver-textdocument");

const service = getLanguageService({});
const findings = async (states) => {
  const text = JSON.stringify({ QueryLanguage: "JSONata", StartAt: "Go", States: states });
  const document = TextDocument.create("file:///machine.asl.json", "asl", 1, text);
  return (await service.doValidation(document, service.parseJSONDocument(document))).length;
};
(async () => {
  const output = await findings({ Go: { Type: "Pass", Output: "{% 1 + %}", End: true } });
  const condition = await findings({
    Go: { Type: "Choice", Choices: [{ Condition: "{% 1 + %}", Next: "Done" }], Default: "Done" },
    Done: { Type: "Succeed" },
  });
  const next = await findings({
    Go: { Type: "Pass", Next: "Nowhere" },
    Done: { Type: "Succeed" },
  });
  console.log(`output ${output}, condition ${condition}, dangling next ${next > 0}`);
})();
JS
known="output 0, condition 0, dangling next true"
seen="$(node seen.js)"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"
