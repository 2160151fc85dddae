package netif_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

func ExampleSelect() {
	route, err := netif.Select("", netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("by", route.Link, "from", route.Src)
	// Output: by lo from 127.0.0.1
}

func ExampleDialer() {
	// Connect by wlan0, whatever the routing tables prefer.
	route, err := netif.Select("wlan0", netip.MustParseAddr("192.0.2.1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := netif.Dialer(route.Link, route.Src).DialContext(context.Background(), "tcp", "192.0.2.1:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	conn.Close()
}

func ExampleWatch() {
	for links, err := range netif.Watch(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, l := range links {
			fmt.Println(l.Name, l.Up, l.Carrier, l.Addrs)
		}
	}
}
