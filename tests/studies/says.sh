# For the tests of command lines: says STATUS WORDS ARGUMENT... runs $program with the arguments, which must end with
# that status and print these words. `finish` ends the test.
failures=0

says() {
  status=$1
  words=$2
  shift 2
  code=0
  output=$("$program" "$@" 2>&1) || code=$?
  case $output in
    *"$words"*) found=yes ;;
    *) found=no ;;
  esac
  if [ "$code" != "$status" ] || [ "$found" = no ]; then
    echo "FAILED: $* gave status $code instead of $status, or no \"$words\" in:"
    echo "$output"
    failures=$((failures + 1))
  fi
}

finish() {
  [ "$failures" = 0 ] || exit 1
  echo 'the command line is as it should be'
}
