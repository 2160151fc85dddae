package sysinfo_test

import (
	"context"
	"fmt"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

func Example() {
	m := sysinfo.Machine{Root: "testdata/rpi3"} // Machine{} is the one this runs on
	id, err := m.Identity()
	if err != nil {
		fmt.Println("gaps:", err)
	}
	cpu, _ := m.CPU()
	memory, _ := m.Memory()
	throttling, _ := m.Throttling()
	fmt.Println(id.Product, id.Serial)
	fmt.Printf("%d cores, %d of %d MiB used\n", cpu.Cores, memory.Used()>>20, memory.Total>>20)
	fmt.Println("power:", throttling)
	// Output:
	// Raspberry Pi 3 Model B Rev 1.2 00000000abf94174
	// 4 cores, 103 of 926 MiB used
	// power: under-voltage, throttled
}

func ExampleSampler_Samples() {
	sampler := sysinfo.NewSampler(sysinfo.Machine{}, time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for sample := range sampler.Samples(ctx, 5*time.Second) {
		fmt.Printf("%.0f %% busy over %v\n", 100*sample.Usage.Busy, sample.Over)
	}
}
