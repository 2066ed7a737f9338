set -u
a=(one two three); echo "${a[1]} ${#a[@]} ${a[@]:1}"
declare -A m=([x]=1 [y]=2); echo "${m[y]}"
s=path/to/file.txt; echo "${s##*/} ${s%.*} ${s/to/from} ${#s}"
for ((i=0; i<3; i++)); do printf '%d ' $i; done; echo
i=0; while [ $i -lt 3 ]; do i=$((i+1)); [ $i = 2 ] && continue; echo $i; done
case foo.bar in *.bar) echo bar;; *) echo other;; esac
[[ abc =~ ^a(.)c$ ]] && echo "${BASH_REMATCH[1]}"
local_test() { local x=inner; echo $x; }; x=outer; local_test; echo $x
echo {1..5} {a,b}c
echo "$(echo nested $(echo twice))"
cat <<'EOF'
raw $x
EOF
cat <<< "here $x"
printf '%05d|%-5s|%x\n' 42 ab 255
test -z "" && echo empty
[ -e /proc/version ] || echo none
: ${undefined:=set}; echo $undefined
echo ${nothing-unset}
trap 'echo bye' EXIT
f() { return 5; }; f; echo $?
set -- p q r; echo $# $2; shift; echo "$@"
echo "$((2**10)) $((7/2)) $((7%3)) $((1<<4)) $((5>3?1:0))"
echo $LINENO
{ echo a; echo b; } > $TMPDIR/f; cat $TMPDIR/f; wc -l < $TMPDIR/f
echo c >> $TMPDIR/f; tail -n 1 $TMPDIR/f; rm $TMPDIR/f
echo x >| $TMPDIR/f; cat $TMPDIR/f
(cd /; pwd); cd /tmp; pwd
echo 'echo sourced $1' > $TMPDIR/s; . $TMPDIR/s; source $TMPDIR/s arg
set -e
false || echo "not fatal"
if false; then :; fi
! true
echo q | grep z || echo "none"
(exit 0)
echo q | grep -q z
echo "not reached"
printf '%.2f|%5.1f|%.3s|%-6.2s|%*d|%e\n' 3.14159 2.55 abcdef abcdef 5 42 1234.5
printf 'a%.0s' 1 2 3; echo
