//! What people with fewer rights try: each test is an attempt to obtain what only a greater right gives.

mod devices;
