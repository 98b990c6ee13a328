# Sourced by both check.sh of preheat-finetune: a tiny model and its examples, in the working folder. They set $golden and
# $tokenizer.

# model DIR [NAME]: a model of the fixtures, with a tokenizer of as many tokens as it has.
model() {
  rm -rf "$1"
  cp -r "$golden/llama/${2:-llama3}/base" "$1"
  chmod -R u+w "$1"
  cp "$tokenizer" "$1/tokenizer.json"
  chmod u+w "$1/tokenizer.json"
}

# all.jsonl, of which train.jsonl and held.jsonl are the two parts.
examples() {
  i=0
  while [ $i -lt 40 ]; do
    i=$((i + 1))
    echo "{\"prompt\": \"the number $i:\", \"completion\": \" and then $((i * i))\"}"
  done >all.jsonl
  head -n 32 all.jsonl >train.jsonl
  tail -n 8 all.jsonl >held.jsonl
}

# begin DIR: goes into a new folder, with the model and the examples.
begin() {
  rm -rf "$1"
  mkdir -p "$1"
  cd "$1"
  model model
  examples
}
