set -e
f() { echo in; false; echo "not reached"; }
(f) || echo "left of ||"
x=$(false) || echo "substitution"
if (false; echo "goes on"); then echo yes; fi
{ (false; echo "goes on too"); } && ! (false; true)
trap 'echo trap $?' EXIT
exit 9
