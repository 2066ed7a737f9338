module github.com/culvert-net/culvert/benchmarks/peers

go 1.25.5

require (
	github.com/culvert-net/culvert v0.0.0-00010101000000-000000000000
	github.com/gaissmai/bart v0.30.0
	github.com/puzpuzpuz/xsync/v4 v4.5.0
	github.com/yl2chen/cidranger v1.0.2
	golang.zx2c4.com/wireguard v0.0.0-20260522210424-ecfc5a8d5446
	gvisor.dev/gvisor v0.0.0-20260224225140-573d5e7127a8
)

require (
	golang.org/x/crypto v0.46.0 // indirect
	golang.org/x/exp v0.0.0-20231110203233-9a3e6036ecaa // indirect
	golang.org/x/net v0.48.0 // indirect
	golang.org/x/sys v0.39.0 // indirect
	golang.org/x/time v0.12.0 // indirect
	golang.zx2c4.com/wintun v0.0.0-20230126152724-0fa3db229ce2 // indirect
)

replace github.com/culvert-net/culvert => ../..
