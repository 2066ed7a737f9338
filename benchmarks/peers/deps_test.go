package peers

import (
	_ "github.com/gaissmai/bart"
	_ "github.com/puzpuzpuz/xsync/v4"
	_ "github.com/yl2chen/cidranger"
	_ "golang.zx2c4.com/wireguard/device"
)
