package sdcpp

import (
	"fmt"
	"slices"
	"strings"
)

// CUDA says what a program built for CUDA needs and what it finds.
type CUDA struct {
	Runtime       Dotted   // version of CUDA that the program uses
	Driver        Dotted   // newest version of CUDA that the driver knows, 0 without a driver
	Architectures []Dotted // compute capabilities that the engine is compiled for
	Devices       []Dotted // compute capability of each GPU, in the order of their names
	Problem       string   // why no GPU can be used, "" when one can
}

// Dotted is a number like 8.9 or 12.4: 10 times the major version and the minor
// one.
type Dotted int

func (d Dotted) String() string { return fmt.Sprintf("%d.%d", d/10, d%10) }

// Runs tells whether code for the compiled architectures runs on a GPU of this
// compute capability: as machine code made for it or for an older one of the same
// generation, or compiled by the driver from what is older than it.
func (c *CUDA) Runs(capability Dotted) bool {
	return len(c.Architectures) == 0 || slices.Min(c.Architectures) <= capability
}

// ArchitectureList names the architectures for people.
func (c *CUDA) ArchitectureList() string {
	names := make([]string, len(c.Architectures))
	for i, a := range c.Architectures {
		names[i] = a.String()
	}
	return strings.Join(names, ", ")
}
