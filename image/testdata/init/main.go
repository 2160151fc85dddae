// Init is the smallest thing that can take natrix's place in an image: it says
// that it runs, and echoes what it reads.
package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	fmt.Printf("%s pid=%d\n", os.Args[0], os.Getpid())
	fmt.Print("echo> ")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); fmt.Print("echo> ") {
		fmt.Println(lines.Text())
	}
}
