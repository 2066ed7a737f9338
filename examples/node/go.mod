module github.com/culvert-net/culvert/examples/node

go 1.25.5

require (
	github.com/culvert-net/culvert v0.0.0-00010101000000-000000000000
	github.com/culvert-net/culvert/lab v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/gaissmai/bart v0.30.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.48.0 // indirect
	golang.org/x/sys v0.42.0 // indirect
	golang.org/x/term v0.41.0 // indirect
	mvdan.cc/sh/v3 v3.13.1 // indirect
)

replace (
	github.com/culvert-net/culvert => ../..
	github.com/culvert-net/culvert/lab => ../../lab
)
