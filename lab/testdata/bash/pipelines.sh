echo hello | sed 's/l/L/g' | tr a-z A-Z
false | true; echo "last counts: $?"
true | false; echo "last counts: $?"
set -o pipefail
false | true; echo "pipefail: $?"
(exit 3) | (exit 0) | true; echo "pipefail: $?"
set +o pipefail
false | true; echo "no pipefail: $?"
! echo x | grep -q y && echo negated
if echo a b | grep -q b; then echo found; fi
echo to stderr >&2 |& cat
{ echo out; echo err >&2; } |& sort
{ echo out; echo err >&2; } 2>&1 | sort
x=$(printf '%s\n' 3 1 2 | sort | head -n 1); echo "$x"
f() { echo "f:$1" | cat; }
f 1 | while read -r line; do echo "got $line"; done
n=0; printf '1\n2\n' | while read -r _; do n=$((n+1)); done; echo "the loop was a subshell: $n"
r() { if [ "$1" -gt 0 ]; then r $(($1-1)) | sed "s/^/$1/"; else echo end; fi; }
r 5
seq 1 20000 | tail -n 1
seq 1 20000 | head -n 2
cat <<EOF | tr a-z A-Z
here $((1+2))
EOF
echo a | { cat; echo b; } | { cat; echo c; }
while read -r a b; do echo "$b $a"; done < <(echo 1 2; echo 3 4)
cat <(echo one) <(echo two | tr a-z A-Z)
echo x | (read -r v; echo "v=$v"; exit 7); echo "$?"
for i in 1 2 3; do echo $i; done | paste -s -d, -
echo done 2>&1 >/dev/null | cat
