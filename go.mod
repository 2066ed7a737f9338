module github.com/culvert-net/culvert

go 1.25

require (
	github.com/gaissmai/bart v0.30.0
	github.com/google/gopacket v1.1.19
	github.com/stretchr/testify v1.12.1
	golang.org/x/net v0.48.0
	golang.org/x/sys v0.39.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
