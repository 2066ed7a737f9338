# Numbers that are not decimal.
h=0020
echo $((0x10)) $((0x$h)) $((0x${h:1:2} + 1)) $((010)) $((2#101)) $((16#$h)) $((0)) $((0xffff ^ 0x0f))
((x = 0x20)) && echo "$x"
for ((i = 0x1; i < 0x3; i++)); do echo "$i"; done
while ((x > 0xf)); do x=$((x >> 1)); done
echo "$x" $((-0x1)) $(( (0x1 + 0x2) * 0x3 ))
[[ $((0xff)) -eq 255 ]] && echo equal
