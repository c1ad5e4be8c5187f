package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// The token of a plugin is the agent's with all taken off that can be: every
// privilege but that of walking through directories, membership of Administrators,
// and the integrity level, which is low. Windows then refuses it to write to files,
// registry keys, windows and processes that are not marked as low (mandatory
// integrity control); reading is not held by this, nor is the network.

// createRestrictedToken is not in package windows.
var createRestrictedToken = windows.NewLazySystemDLL("advapi32.dll").NewProc("CreateRestrictedToken")

const disableMaxPrivilege = 0x1 // winnt.h

// restrictedToken makes the token. Where paths are granted for writing, which carry
// no mark that this process could be told by, the integrity level stays.
func restrictedToken(s *Spec) (windows.Token, error) {
	var own windows.Token
	const access = windows.TOKEN_DUPLICATE | windows.TOKEN_QUERY | windows.TOKEN_ASSIGN_PRIMARY | windows.TOKEN_ADJUST_DEFAULT
	if err := windows.OpenProcessToken(windows.CurrentProcess(), access, &own); err != nil {
		return 0, fmt.Errorf("open our own token: %w", err)
	}
	defer own.Close()
	administrators, err := windows.CreateWellKnownSid(windows.WinBuiltinAdministratorsSid)
	if err != nil {
		return 0, err
	}
	deny := windows.SIDAndAttributes{Sid: administrators} // where it is none of ours, this says nothing
	var t windows.Token
	ok, _, err := createRestrictedToken.Call(uintptr(own), disableMaxPrivilege, 1, uintptr(unsafe.Pointer(&deny)), 0, 0, 0, 0, uintptr(unsafe.Pointer(&t)))
	runtime.KeepAlive(administrators)
	if ok == 0 {
		return 0, fmt.Errorf("make a restricted token: %w", err)
	}
	if !s.lowers() {
		return t, nil
	}
	if err := lower(t); err != nil {
		t.Close()
		return 0, err
	}
	return t, nil
}

// lower gives a token the low integrity level.
func lower(t windows.Token) error {
	low, err := windows.CreateWellKnownSid(windows.WinLowLabelSid)
	if err != nil {
		return err
	}
	label := windows.Tokenmandatorylabel{Label: windows.SIDAndAttributes{Sid: low, Attributes: windows.SE_GROUP_INTEGRITY}}
	err = windows.SetTokenInformation(t, windows.TokenIntegrityLevel, (*byte)(unsafe.Pointer(&label)), label.Size())
	runtime.KeepAlive(low)
	if err != nil {
		return fmt.Errorf("lower the integrity level of a token: %w", err)
	}
	return nil
}

// lowLabel lets processes of low integrity write to a directory and what is made in
// it: no write-up below low (SDDL, "mandatory label").
const lowLabel = "S:(ML;OICI;NW;;;LW)"

// openToLow marks what a plugin owns, so that it may write there.
func openToLow(paths ...string) error {
	descriptor, err := windows.SecurityDescriptorFromString(lowLabel)
	if err != nil {
		return err
	}
	label, _, err := descriptor.SACL()
	if err != nil {
		return err
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		err := windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.LABEL_SECURITY_INFORMATION, nil, nil, nil, label)
		if err != nil && !errors.Is(err, syscall.ERROR_FILE_NOT_FOUND) {
			return fmt.Errorf("let low integrity write to %s: %w", path, err)
		}
	}
	return nil
}
