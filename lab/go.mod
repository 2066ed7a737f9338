module github.com/culvert-net/culvert/lab

go 1.25

require (
	github.com/culvert-net/culvert v0.0.0-00010101000000-000000000000
	golang.org/x/sys v0.39.0
)

replace github.com/culvert-net/culvert => ..
