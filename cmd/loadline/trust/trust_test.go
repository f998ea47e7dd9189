package trust

import (
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cluster makes an authority with the credentials of a coordinator, two agents and a client, and returns their folders.
func cluster(t *testing.T) (a *Authority, folders map[string]string) {
	t.Helper()
	a, err := NewAuthority(filepath.Join(t.TempDir(), "certs"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	folders = map[string]string{}
	for name, role := range map[string]Role{"coordinator": Coordinator, "a1": Agent, "a2": Agent, "alice": Client} {
		folders[name] = issue(t, a, Order{Identity: Identity{role, name}, Hosts: []string{"127.0.0.1"}, Valid: time.Hour})
	}
	return a, folders
}

func issue(t *testing.T, a *Authority, o Order) string {
	t.Helper()
	folder, err := a.Make(o, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func load(t *testing.T, folder string, role Role) *Credentials {
	t.Helper()
	c, err := Read(folder, role, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCredentialsSayWhoTheirHolderIs(t *testing.T) {
	_, folders := cluster(t)
	for name, role := range map[string]Role{"coordinator": Coordinator, "a1": Agent, "alice": Client} {
		if got := load(t, folders[name], role).Identity; got != (Identity{role, name}) {
			t.Errorf("identity %v, want %s %s", got, role, name)
		}
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	a, folders := cluster(t)
	for _, path := range []string{filepath.Join(a.folder, caKey), filepath.Join(folders["a1"], keyFile), filepath.Join(folders["alice"], certFile)} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o, want 0600", path, info.Mode().Perm())
		}
	}
}

func TestBadCredentialsAreRefusedWithTheWayToMendThem(t *testing.T) {
	a, folders := cluster(t)
	now := time.Now()
	open := func(path string, mode os.FileMode) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	swap := func(from, to string) {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	other, strangers := cluster(t)
	readable := issue(t, a, Order{Identity: Identity{Agent, "readable"}, Valid: time.Hour})
	open(filepath.Join(readable, keyFile), 0o640)
	stranger := issue(t, a, Order{Identity: Identity{Agent, "stranger"}, Valid: time.Hour})
	swap(filepath.Join(other.folder, caFile), filepath.Join(stranger, caFile))
	mixed := issue(t, a, Order{Identity: Identity{Agent, "mixed"}, Valid: time.Hour})
	swap(filepath.Join(strangers["a1"], keyFile), filepath.Join(mixed, keyFile))
	torn := issue(t, a, Order{Identity: Identity{Agent, "torn"}, Valid: time.Hour})
	if err := os.WriteFile(filepath.Join(torn, caFile), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, folder string
		role         Role
		now          time.Time
		want         string
	}{
		{"others may read the key", readable, Agent, now, "chmod 600"},
		{"ended", folders["a1"], Agent, now.Add(2 * time.Hour), "has ended"},
		{"not begun", folders["a1"], Agent, now.Add(-2 * time.Hour), "set the clock"},
		{"of another role", folders["alice"], Agent, now, "loadline certs agent NAME"},
		{"an agent as client", folders["a1"], Client, now, "loadline certs client NAME"},
		{"another authority", stranger, Agent, now, "not one of the authority"},
		{"key of another", mixed, Agent, now, "do not belong together"},
		{"no authority", torn, Agent, now, "holds no certificate"},
		{"nothing there", filepath.Join(t.TempDir(), "none"), Coordinator, now, "loadline certs init"},
	} {
		if _, err := Read(c.folder, c.role, c.now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error = %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestNothingIsReplaced(t *testing.T) {
	a, _ := cluster(t)
	if _, err := NewAuthority(a.folder, time.Now()); err == nil {
		t.Error("a second authority in the same folder was made")
	}
	if _, err := a.Make(Order{Identity: Identity{Agent, "a1"}, Valid: time.Hour}, time.Now()); err == nil {
		t.Error("credentials were made twice")
	}
}

func TestNamesThatDoNotFitAreRefused(t *testing.T) {
	a, _ := cluster(t)
	for _, name := range []string{"", ".", "..", "../a", "a/b", "a b", "ä", "*", ">", strings.Repeat("a", 65), "coordinator"} {
		if folder, err := a.Make(Order{Identity: Identity{Agent, name}, Valid: time.Hour}, time.Now()); err == nil {
			t.Errorf("credentials of %q were made in %s", name, folder)
		}
	}
}

func TestOnlyOneIdentityOfOursCounts(t *testing.T) {
	uri := func(texts ...string) *x509.Certificate {
		c := &x509.Certificate{}
		for _, text := range texts {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
		return c
	}
	for _, texts := range [][]string{
		{}, {"https://agent/a1"}, {"loadline://root/a1"}, {"loadline://agent/"}, {"loadline://agent/a/b"}, {"loadline://agent/coordinator"},
		{"loadline://agent/a1", "loadline://client/a1"}, {"spiffe://agent/a1"},
	} {
		if id, err := Of(uri(texts...)); err == nil {
			t.Errorf("%v is taken for %v", texts, id)
		}
	}
}

func TestAnAuthorityIsReadAgain(t *testing.T) {
	a, _ := cluster(t)
	again, err := OpenAuthority(a.folder, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	load(t, issue(t, again, Order{Identity: Identity{Agent, "late"}, Valid: time.Hour}), Agent)
	if err := os.Chmod(filepath.Join(a.folder, caKey), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(a.folder, time.Now()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that everybody may read: %v", err)
	}
	if _, err := OpenAuthority(a.folder, time.Now().AddDate(11, 0, 0)); err == nil {
		t.Error("an authority that has ended is used")
	}
}
