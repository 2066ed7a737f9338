(sleep 0.3; echo slow) &
sleep 0.1 & P=$!
wait $P; echo "waited: $?"
wait
sleep 100 &
kill %1; wait %1; echo "killed: $?"
(exit 3) & wait $!; echo "status: $?"
for i in 3 1 2; do (sleep 0.$((3 * i)); echo "slept $i" | cat) & done
wait
timeout 0.1 sleep 10; echo "timeout: $?"
f() { sleep 0.1; echo "in the background: $1"; return 4; }
f a & wait $!; echo "function: $?"
{ sleep 0.1; echo block; } & wait
x=$(sleep 0.1 & wait; echo substituted); echo "$x"
(sleep 0.2 & echo early; wait; echo late)
eval 'sleep 0.1 & wait $!; echo "eval: $?"'
bash -c 'sleep 0.1 & wait $!; echo "bash -c: $? $1"' name param
cat < /dev/null & wait; echo "no input"
wait 99999; echo "no child: $?"
kill %7 2> /dev/null; echo "no job: $?"
if sleep 0.1 & then wait; echo "started"; fi
sleep 0.2 & a=$!; sleep 0.1 & b=$!
wait $b $a; echo "both: $?"
true && sleep 0.1 & wait
[ "$a" != "$b" ] && echo "numbers differ"
(sleep 0.2; exit 5) & (sleep 0.1; exit 6) & wait -n; echo "first: $?"; wait -n; echo "second: $?"
sleep 50 & sleep 60 & kill $(jobs -p); wait; echo "all killed"
printf 'echo script $1; exit 3\n' > $TMPDIR/s.sh; chmod +x $TMPDIR/s.sh; bash $TMPDIR/s.sh arg; echo $?
type cd > /dev/null && command -v cd
