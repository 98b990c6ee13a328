# What the check.sh of the programs share: sourced before they enter the folder in which they work. `outputs` holds the
# names, as patterns of the shell, of which none may be there after a refusal.
failures=0

complain() {
  echo "FAILED: $1"
  shift
  for line; do echo "  $line"; done
  failures=$((failures + 1))
}

# refused NAME WORDS COMMAND...: one line on standard error that has the words, exit status 2, and nothing left behind.
refused() {
  name=$1
  words=$2
  shift 2
  code=0
  "$@" >stdout 2>stderr || code=$?
  [ "$code" = 2 ] || complain "$name" "exit status $code, not 2" "$(cat stderr)"
  [ "$(wc -l <stderr)" = 1 ] || complain "$name" "one line of error expected:" "$(cat stderr)"
  grep -q -e "$words" stderr || complain "$name" "no \"$words\" in:" "$(cat stderr)"
  left=$(ls -d $outputs 2>/dev/null || true)
  [ -z "$left" ] || complain "$name" "left behind: $left"
  rm -rf $outputs
}

# works NAME COMMAND...
works() {
  name=$1
  shift
  "$@" >stdout 2>stderr || complain "$name" "exit status $?" "$(cat stderr)"
  [ ! -s stderr ] || complain "$name" "without a terminal nothing goes to standard error:" "$(cat stderr)"
}
