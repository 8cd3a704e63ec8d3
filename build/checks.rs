use crate::schema::Message;
pub fn generate(_: &[Message]) -> String {
    String::new()
}
