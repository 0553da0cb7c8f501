// Replaces gitleaks' regen.go: generated secrets are the same in each run.

package secrets

import (
	"hash/fnv"

	"github.com/lucasjones/reggen"
)

var made int64

func NewSecret(regex string) string {
	generator, err := reggen.NewGenerator(regex)
	if err != nil {
		panic(err)
	}
	made++
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(regex))
	generator.SetSeed(int64(seed.Sum64()>>1) + made)
	return generator.Generate(1)
}
