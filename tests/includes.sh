#!/bin/sh
# includes.sh DIR: the headers of the library below DIR include one another in one direction only, from
# folder to folder as `allowed` says, and none has more than 300 lines. Prints what is wrong; 1 if anything is.
cd "$1" || exit 1

# Each folder (or header beside the folders), and what it may include apart from its own headers.
allowed='
core
linalg       core
adapter      core linalg
chain        core linalg
optim        core linalg
init         core linalg adapter optim
rank         core linalg adapter
method       core adapter chain init optim rank
operators    core linalg adapter
train        core linalg adapter optim method operators
convert      core linalg train
methods      core linalg adapter chain init optim rank method
nn           core linalg
cpu          core version
kernels      core linalg cpu init optim operators train
cuda         core
comm         core
files        core
safetensors  core files
storage      core linalg safetensors
peft         core linalg adapter files safetensors operators train convert
huggingface  core files safetensors storage nn
gguf         core linalg adapter files safetensors storage nn train peft
text         core files gguf
version
deprecated   core init method nn train
preheat      cpu kernels methods nn train version
'
find . -name '*.hpp' | LC_ALL=C sort | sed 's|^\./||' | xargs awk -v allowed="$allowed" '
function room(path) { sub(/\/.*/, "", path); sub(/\.hpp$/, "", path); return path }
function wrong(text) { print FILENAME ": " text; failed = 1 }
function count_lines() { if (lines > 300) { print name ": " lines " lines; 300 at most"; failed = 1 } }
BEGIN {
  n = split(allowed, rows, "\n")
  for (i = 1; i <= n; i++) {
    k = split(rows[i], words, " ")
    for (j = 2; j <= k; j++) may[words[1], words[j]] = 1
    if (k > 0) known[words[1]] = 1
  }
}
FNR == 1 { count_lines(); name = FILENAME; from = room(FILENAME); headers++
           if (!(from in known)) wrong("the folder " from " is not in the table of tests/includes.sh") }
{ lines = FNR }
/^#[ \t]*include[ \t]*["<]/ {
  target = $0
  sub(/^[^"<]*["<]/, "", target); sub(/[">].*/, "", target)
  if (index($0, "<") && target !~ /^preheat\//) next      # another library
  if (sub(/^preheat\//, "", target)) to = room(target)
  else if (sub(/^\.\.\//, "", target)) to = room(target)
  else to = index(target, "/") || !index(FILENAME, "/") ? room(target) : from
  if (to == from) next
  arrow[from, to] = 1
  if (!((from, to) in may)) wrong("includes " to ", which is not below " from)
}
END {
  count_lines()
  # A folder without arrows to others that are left can be taken away; what stays is a circle.
  for (a in known) left[a] = 1
  do {
    taken = 0
    for (a in left) {
      free = 1
      for (b in left) if (a != b && ((a, b) in arrow || (a, b) in may)) free = 0
      if (free) { delete left[a]; taken = 1 }
    }
  } while (taken)
  for (a in left) { circle = circle " " a }
  if (circle) { print "a circle of folders among:" circle; failed = 1 }
  if (headers < 100) { print "only " headers + 0 " headers found"; failed = 1 }
  exit failed
}'
