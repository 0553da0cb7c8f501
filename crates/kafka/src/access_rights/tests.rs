use super::*;

const NEEDED: [AccessRight; 3] = [AccessRight::Write, AccessRight::Describe, AccessRight::DescribeConfigs];

/// Only what is missing is named, and the command grants just that.
#[test]
fn missing_rights_are_named() {
    let rights = |bits: &[u32]| GrantedRights(bits.iter().map(|bit| 1 << bit).sum());
    assert_eq!(missing_rights(AclResource::Topic("in"), &NEEDED, rights(&[4, 8, 10, 3])), None);
    let found = missing_rights(AclResource::Topic("in"), &NEEDED, rights(&[8])).unwrap();
    assert_eq!(found.why, "the ACLs of the topic `in` do not grant Write, DescribeConfigs to this client");
    let command =
        "`kafka-acls.sh --add --allow-principal User:NAME --operation Write --operation DescribeConfigs --topic in`";
    assert!(found.remedy.starts_with(command), "{}", found.remedy);
    let found = missing_rights(AclResource::Group("workers"), &[AccessRight::Read], GrantedRights::NONE).unwrap();
    assert!(found.remedy.contains(" --operation Read --group workers`"), "{}", found.remedy);
}

/// A broker that tells no rights says so with the smallest number, which is not taken for a set.
#[test]
fn untold_rights_are_unknown() {
    assert_eq!(GrantedRights::from_protocol(i32::MIN), None);
    assert_eq!(GrantedRights::from_protocol(0), Some(GrantedRights::NONE));
}
