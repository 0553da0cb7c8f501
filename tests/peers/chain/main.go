// A vault's chain, checked by another implementation: Go's own golang.org/x/mod/sumdb (the code behind the Go
// checksum database) for notes and trees, crypto/ed25519 for signatures. Nothing of tollgate's is used but docs/vault.md.
//
//	chain DIR VKEY    every digest: signature, checkpoint, link, root from the lines, hashes of objects and fragments
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type link struct {
	Epoch  string
	N      int64
	Sha256 string
}

type digest struct {
	Account, Writer, Epoch string
	N                      int64
	Prev                   *link
	Reason                 string
	Continues              *struct {
		Epoch string
		Leaf  int64
	}
	TreeSize int64 `json:"tree_size"`
	Root     string
	Index    *struct {
		Key, Sha256 string
		FirstLeaf   int64 `json:"first_leaf"`
		Leaves      int64
	}
	Objects []struct {
		Key    string
		Size   *int64
		Sha256 *string
	}
	Note string
}

type row struct {
	Leaf      int64
	ObjectKey *string `json:"object_key"`
	Off       int64
	Len       int64
	Ct        string `json:"ct_sha256"`
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "chain: "+format+"\n", args...)
	os.Exit(1)
}

func must(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func sum(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }

// open gives origin, size and root of a signed checkpoint.
func open(text, vkey, where string) (string, tlog.Tree) {
	verifier, err := note.NewVerifier(vkey)
	must(err, "the key")
	n, err := note.Open([]byte(text), note.VerifierList(verifier))
	must(err, where)
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		fail("%s: not a checkpoint of three lines: %q", where, n.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err, where)
	root, err := tlog.ParseHash(lines[2])
	must(err, where)
	return lines[0], tlog.Tree{N: size, Hash: root}
}

// key is the raw public key in a vkey.
func key(vkey string) ed25519.PublicKey {
	parts := strings.SplitN(vkey, "+", 3)
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	must(err, "the key")
	return ed25519.PublicKey(raw[1:])
}

// hashes of a tree, as tlog stores them.
type hashes []tlog.Hash

func (h hashes) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		if n >= int64(len(h)) {
			return nil, fmt.Errorf("no hash %d", n)
		}
		out[i] = h[n]
	}
	return out, nil
}

func vault(dir, vkey string) {
	counts := map[string]int{}
	epochs, err := filepath.Glob(filepath.Join(dir, "chain", "*", "*", "*"))
	must(err, "the chain")
	type end struct {
		sha string
		n   int64
	}
	last := map[string]end{}
	first := map[string]digest{}
	for _, folder := range epochs {
		counts["epochs"]++
		names, _ := filepath.Glob(filepath.Join(folder, "*.json"))
		sort.Strings(names)
		var tree hashes
		var size, base int64
		for n, name := range names {
			raw, err := os.ReadFile(name)
			must(err, name)
			sig, err := os.ReadFile(name + ".sig")
			must(err, name)
			if !ed25519.Verify(key(vkey), raw, sig) {
				fail("%s: not signed by the key", name)
			}
			var d digest
			must(json.Unmarshal(raw, &d), name)
			if d.N != int64(n) || d.Epoch != filepath.Base(folder) {
				fail("%s: its number or epoch is not its name", name)
			}
			line := d.Account + "/" + d.Writer + "/"
			if n == 0 {
				first[line+d.Epoch] = d
				if d.Continues != nil {
					base = d.Continues.Leaf
				}
			} else if before := last[line+d.Epoch]; d.Prev == nil || d.Prev.Sha256 != before.sha || d.Prev.N != before.n {
				fail("%s: not linked to the digest before", name)
			}
			last[line+d.Epoch] = end{sum(raw), d.N}
			rows := lines(dir, d, name)
			for _, text := range rows {
				more, err := tlog.StoredHashes(size, text, tree)
				must(err, name)
				tree = append(tree, more...)
				var r row
				must(json.Unmarshal(text, &r), name)
				if r.Leaf != base+size {
					fail("%s: leaf %d stands at %d", name, r.Leaf, base+size)
				}
				size++
				counts["lines"]++
				if r.ObjectKey != nil {
					object, err := os.ReadFile(filepath.Join(dir, *r.ObjectKey))
					must(err, name)
					if sum(object[r.Off:r.Off+r.Len]) != r.Ct {
						fail("%s: leaf %d: its fragment has another hash", name, r.Leaf)
					}
					counts["fragments"]++
				}
			}
			for _, o := range d.Objects {
				object, err := os.ReadFile(filepath.Join(dir, o.Key))
				must(err, name)
				if o.Sha256 != nil && (sum(object) != *o.Sha256 || int64(len(object)) != *o.Size) {
					fail("%s: %s is another object", name, o.Key)
				}
				counts["objects"]++
			}
			origin, said := open(d.Note, vkey, name)
			if !strings.HasSuffix(origin, "/"+d.Account+"/"+d.Writer+"/"+d.Epoch) {
				fail("%s: the checkpoint's origin is %s", name, origin)
			}
			var root tlog.Hash
			if size == 0 {
				root = tlog.Hash(sha256.Sum256(nil))
			} else {
				root, err = tlog.TreeHash(size, tree)
				must(err, name)
			}
			if said.N != size || d.TreeSize != size || said.Hash != root || d.Root != root.String() {
				fail("%s: %d lines have the root %s, signed are %d and %s", name, size, root, said.N, said.Hash)
			}
			counts["digests"]++
		}
	}
	for name, d := range first {
		if d.Prev == nil {
			if d.Reason == "" {
				fail("%s: nothing before it, and no reason", name)
			}
			continue
		}
		before, ok := last[d.Account+"/"+d.Writer+"/"+d.Prev.Epoch]
		if !ok || before.sha != d.Prev.Sha256 || before.n != d.Prev.N {
			fail("%s: not linked to the last digest of the epoch before", name)
		}
		counts["links"]++
	}
	out, _ := json.Marshal(counts)
	fmt.Println(string(out))
}

func lines(dir string, d digest, name string) [][]byte {
	if d.Index == nil {
		return nil
	}
	packed, err := os.ReadFile(filepath.Join(dir, d.Index.Key))
	must(err, name)
	if sum(packed) != d.Index.Sha256 {
		fail("%s: another index object", name)
	}
	cmd := exec.Command("zstd", "-dcq")
	cmd.Stdin = bytes.NewReader(packed)
	text, err := cmd.Output()
	must(err, name)
	rows := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if int64(len(rows)) != d.Index.Leaves {
		fail("%s: %d lines, not %d", name, len(rows), d.Index.Leaves)
	}
	return rows
}

func main() {
	if len(os.Args) != 3 {
		fail("usage: chain DIR VKEY")
	}
	vault(os.Args[1], os.Args[2])
}
