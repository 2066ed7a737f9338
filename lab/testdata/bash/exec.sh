# exec with redirections only: for all that follows, but those of single commands end with them.
echo one
exec 2>&1
echo two >&2
echo lost >/dev/null
echo three
f() { echo "in a function" >&2; }
f
f 2>/dev/null
{ echo four >&2; } 2>/dev/null
T=$(mktemp)
(
	exec >"$T"
	echo five
	echo lost >/dev/null
	echo six
)
echo seven
cat "$T"
echo eight >&2 &
wait
for i in 1 2; do echo "$i" >&2; done
exec >"$T"
echo nine
exec >/dev/stderr
