#!/usr/bin/env bash
# Uses the library as a stranger does: packs the committed tree as version v0.0.1 into a file-system module proxy, gets it from
# a module of its own outside this one, and runs a program with it. No network but the module proxy for the dependencies.
set -euo pipefail
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
module=github.com/culvert-net/culvert
version=v0.0.1
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# A module proxy is a folder: https://go.dev/ref/mod#goproxy-protocol
at=$work/proxy/$module/@v
mkdir -p "$at"
echo "$version" >"$at/list"
printf '{"Version":"%s","Time":"2026-01-01T00:00:00Z"}' "$version" >"$at/$version.info"
cp "$root/go.mod" "$at/$version.mod"
nested=$(git -C "$root" ls-files '*/go.mod' | sed 's|/go.mod$||; s|^|:(exclude)|')
# shellcheck disable=SC2086 # paths of modules have no spaces
git -C "$root" archive --format zip --prefix "$module@$version/" -o "$at/$version.zip" HEAD -- . $nested

mkdir "$work/app"
cd "$work/app"
cat >main.go <<'GO'
package main

import (
	"fmt"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
)

func main() {
	mac := ethernet.MustParseMAC("0a:58:0a:f4:01:01")
	frame := arp.WhoHas([4]byte{10, 244, 1, 12}, mac, [4]byte{10, 244, 1, 1}).AppendFrame(nil, ethernet.Broadcast)
	w, err := dissect.New(dissect.Config{})
	if err != nil {
		panic(err)
	}
	var s dissect.Stack
	if err := w.Ethernet(&s, frame); err != nil {
		panic(err)
	}
	fmt.Println(s.Outer().Ethernet.Src(), "asks for", s.Outer().ARP.TargetIP())
}
GO
export GOFLAGS=-mod=mod GOWORK=off GONOSUMDB=$module
export GOPROXY="file://$work/proxy,$(go env GOPROXY)" GOMODCACHE=$work/cache
go mod init example.com/app
go get "$module@$version"
got=$(go run .)
want='0a:58:0a:f4:01:01 asks for [10 244 1 12]'
if [ "$got" != "$want" ]; then
  echo "outside module printed '$got', want '$want'" >&2
  exit 1
fi
echo "an outside module builds and runs; modules in its build: $(go list -deps -f '{{with .Module}}{{.Path}}{{end}}' . | sort -u | tr '\n' ' ')"
