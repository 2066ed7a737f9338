#!/bin/sh
# Records what tcpdump says about the captures in this directory, for tests on machines without it. The files here are of
# Debian's tcpdump 4.99.3. -# numbers the frames; the other flags are those whose words the package prints.
set -eu
cd "$(dirname "$0")"
for f in *.pcap; do
	tcpdump -# -e -n -vv -S -t -r "$f" 2>/dev/null >"${f%.pcap}.txt"
done
