# return and local in subshells, pipelines, substitutions and jobs of a function; EXIT traps of subshells; SECONDS.
f() { (return 3; echo never); echo "returned $?"; local a=1; (local a=2; echo "$a"; a=3; echo "$a"); echo "$a"; }
f
g() { printf '%s\n' a b c | while read -r l; do [ "$l" = b ] && return 5; echo "$l"; done; echo "status $?"; }
g
h() { x=$(local y=7; echo "$y"; return 4); echo "$x $?"; }
h
p() { (echo "$# $2"; shift; echo "$1"; return); echo "$1"; }
p one "two words"
nested() { (inner() { return 6; echo never; }; inner; echo "inner $?"; return 7); echo "outer $?"; }
nested
job() { { sleep 0.1; return 8; } & wait $!; echo "job $?"; }
job
(return 2) 2>/dev/null
(trap 'echo bye' EXIT; echo in)
echo out
(trap 'echo "status $?"' EXIT; exit 3); echo $?
(trap 'echo "status $?"' EXIT; false); echo $?
(trap 'echo aborted' EXIT; set -e; false; echo never); echo $?
(trap 'exit 9' EXIT; true); echo $?
(trap 'echo gone' EXIT; trap - EXIT; echo kept quiet)
(trap 'echo outer' EXIT; (echo inner has none); echo "$(echo nor has this)")
(trap 'echo outer' EXIT; (trap 'echo inner' EXIT; :))
x=$(trap 'echo substituted' EXIT; echo text); echo "$x"
{ trap 'echo of a job' EXIT; echo job; } & wait
(trap 'echo of a stage' EXIT; echo stage) | cat
(trap "echo 'quoted \"twice\"'; for i in 1 2; do echo \$i; done" EXIT)
(cd /; trap 'pwd' EXIT; v=1; trap 'echo "last one counts, $v"' EXIT; v=2)
trap 'echo main $?' EXIT
(echo no trap here)
x=SECONDS; echo $x RANDOM SECONDS
for i in RANDOM; do echo $i; done
SECONDS=0; echo $SECONDS $((SECONDS)) $((SECONDS * 2 + 1))
SECONDS=100; (( SECONDS >= 100 )) && echo later
let SECONDS=50; [ $SECONDS -ge 50 ] && [ $SECONDS -lt 60 ] && echo set
((SECONDS = 7)); for ((i = SECONDS; i < SECONDS + 2; i++)); do echo step; done
b=abcdefghijklmnop; echo ${b:0x2:010} $((RANDOM >= 0))
t=$SECONDS; echo $((SECONDS - t))
exit 4
